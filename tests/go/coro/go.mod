module gostray.test/coro

go 1.23
