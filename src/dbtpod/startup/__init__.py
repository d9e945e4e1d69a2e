"""How the chart's long-lived pods begin: a password that was made once, a database that answers, Secrets as they are.

password    the Secret with the server's password, created where it is missing
following   a process that ends when a Secret that it was started with has changed
database    the server's database: its address from a URL or from fields, and the wait for it
server      Prefect's server, once its database answers
"""
