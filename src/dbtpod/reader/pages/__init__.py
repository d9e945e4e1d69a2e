"""What a person sees of the reader, rendered on the server.

addresses   every address of the pages, put together
site        what all pages share: the reader, its caches, the templates
rendering   templates with their filters, and the answer that holds a page
overview    what readers see now, what is failing, what comes next
generations the builds that are kept; one of them, and how it differs from the one before
runs        the runs over time
one_run     one run: its commands, its timing by thread, its failures
published   from a run to the generation that it published
nodes       the nodes of the generation that readers see, searchable
one_node    one node of one generation
docs        dbt docs of a generation, which `dbtpod.docs` makes
paging      a list in parts
parents     the column lineage, which `dbtpod.docs` makes, read in both directions
recorded    a DuckDB file, asked: the history, and the columns of a generation
questions   what the pages ask the history, in SQL
manifest    what dbt's manifest says of the nodes
differences two generations compared, once, in the background
server      Prefect's API: which runs come next
gantt       where a run's bars are
"""

from dbtpod.reader.pages.addresses import routes as routes
