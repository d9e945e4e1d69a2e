"""What `dbtpod init` writes beside a dbt project, and how a newer template comes into it.

repository       the files of a user's repository: written once, updated by a merge, never overwritten
survey           what the templates have to know of the dbt project, read from its files
templates        the texts of files/, filled in for a project
record           what was written, kept in the repository: the base of the merge
git              where the repository is, and its merge of three texts
"""
