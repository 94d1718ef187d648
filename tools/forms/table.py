"""Every form, by name."""

from __future__ import annotations

from tools.forms import inputs, outputs, preparation
from tools.forms.form import Form

FORMS: dict[str, Form] = {**preparation.FORMS, **outputs.FORMS, **inputs.FORMS}
