"""Whether answers' times tell known numbers from unknown ones: `make test-enumeration`."""
