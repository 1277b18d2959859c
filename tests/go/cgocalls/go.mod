module gostray.test/cgocalls

go 1.19
