"""The commands of `alexnet`: one function each, whose parameters are its flags.

cli.py imports a module when one of its commands is given, and not before: what a command needs (torch, an HTTP server)
need not be installed for the others.
"""
