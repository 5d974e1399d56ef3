"""The demo page and the HTTP API of a model that judges recordings.

What belongs here: the web application, its limits, its documentation, and the files of the page.
What does not: judging itself (`feedback`). FastAPI and uvicorn come with the extra `serve`.
"""
