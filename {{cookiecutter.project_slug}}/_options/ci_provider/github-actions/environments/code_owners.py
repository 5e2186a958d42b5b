{% include "code_owners.py" -%}
