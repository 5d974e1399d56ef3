"""Thin command lines, one a verb: parse options, call one room, print what was made. No logic."""
