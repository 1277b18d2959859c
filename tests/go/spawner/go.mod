module gostray.test/spawner

go 1.21
