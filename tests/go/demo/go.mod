module gostray.test/demo

go 1.21
