"""Small networks in the forms that people's models have: see tools/model_forms.py."""
