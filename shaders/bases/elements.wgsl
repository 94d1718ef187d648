{# The frame of a kernel that counts its invocations in one number: one an element of y, whose position is i0, i1, …
   (`element` is what it computes), or of something else, where the kernel has a `main` of its own. #}
{% extends "bases/kernel.wgsl" %}
{% block indexing %}
{% include "parts/linear.wgsl" %}
{% endblock %}
{% block main %}
{% include "parts/position.wgsl" %}
{% block element required %}
{% endblock %}
{% endblock %}
