module gostray.test/since

go 1.19
