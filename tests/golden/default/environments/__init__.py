"""What Databricks and the provider of CI/CD must know of this project before it can be released: what is there, what is
missing, and what is allowed that nobody needs. For platform engineers; never deployed."""

# Version tags are called like this.
TAGS = "v*"
# Of a project that shares its repository: what its names begin with, and its folder with a slash at the end.
UNIT = ""
FOLDER = ""
