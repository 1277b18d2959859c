module gostray.test/web

go 1.19
