"""`opsconsole doctor`: looks at everything the console stands on, changes nothing, and says what to do."""
