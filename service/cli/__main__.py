"""`python -m service.cli`, which is how the supervisor starts the parts of the service."""

from service.cli import main

main()
