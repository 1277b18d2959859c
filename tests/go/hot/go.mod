module gostray.test/hot

go 1.19
