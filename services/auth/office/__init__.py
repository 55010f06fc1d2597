"""Recovery at an office (M18): who calls, what may be started, what waits, what is done, who did it (docs/adr/0028)."""
