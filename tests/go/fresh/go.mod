module gostray.test/fresh

go 1.19
