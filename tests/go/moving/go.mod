module gostray.test/moving

go 1.19
