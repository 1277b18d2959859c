module gostray.test/busy

go 1.21
