"""What `dbtpod init` writes beside a dbt project, and how a newer template comes into it.

repository       init and update, from the project to the lines that are printed
survey           what the templates have to know of the dbt project (sources, python_models), from its files
templates        the texts of files/, filled in for a project
changes          a new file is written, one that was written before is merged, none is overwritten
record           what was written, kept in the repository: the base of the merge
git              where the repository is, what it leaves out, and git's merge of three texts
"""
