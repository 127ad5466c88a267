"""What the client's command line shares with `python -m panet_keras segment`: words, names of files and
rules.

`serving` may not import `panet_keras`, and the client is installed alone, so this folder repeats the code of
`panet_keras/commands` with ValueError in place of PANetError (tests/serving/test_client_commands.py holds
both to the same code). Change both.
"""
