module gostray.test/running

go 1.21
