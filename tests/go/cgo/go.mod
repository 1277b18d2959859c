module gostray.test/cgo

go 1.21
