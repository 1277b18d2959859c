module gostray.test/deadlocks

go 1.19
