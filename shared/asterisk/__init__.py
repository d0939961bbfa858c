"""What Asterisk's command line says and takes; knows no SSH and no HTTP."""
