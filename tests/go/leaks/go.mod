module gostray.test/leaks

go 1.26
