module gostray.test/parked

go 1.19
