module gostray.test/names

go 1.21
