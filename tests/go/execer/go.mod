module gostray.test/execer

go 1.21
