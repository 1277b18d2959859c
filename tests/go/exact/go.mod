module gostray.test/exact

go 1.21
