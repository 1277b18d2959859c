module gostray.test/flood

go 1.19
