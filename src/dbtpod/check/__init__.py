"""What `dbtpod check` does: say everything that is wrong in a repository, without a cluster, Docker or a server.

main             the checks, and what is printed
finding          one thing that is wrong, with its place
prefect_yaml     prefect.yaml, as registration will read it
python_flows     the dbt commands in the Python of flows, where they are written out
selection        what commands select in the parsed project, and what they do not
project          what dbt and dbtpod say of the project and its profile
values           values.yaml by the chart's schema

values.schema.json and job_template.json are the chart's own, copied, as it is not beside the package that a user
installs: a test compares them, and names the command that copies.
"""
