module gostray.test/crowd

go 1.19
