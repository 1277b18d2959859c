module gostray.test/states

go 1.19
