"""From the build machine to the house and back: install, put on trial, take back, fetch the log. Over OpenSSH."""
