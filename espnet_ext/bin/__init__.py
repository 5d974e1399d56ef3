"""Thin command lines, one file per verb: parse options, call one package, print the result."""
