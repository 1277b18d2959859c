module gostray.test/bubble

go 1.25
