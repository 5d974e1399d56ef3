"""Conditioners: what tells the encoder which outputs and conditions are active, one file per kind.

A conditioner acts on the encoder for a request, says whether outputs can share an encoder pass, and
may turn into biases for export. A new kind is one file here (or anywhere) and one line in
`registry.py`.
"""
