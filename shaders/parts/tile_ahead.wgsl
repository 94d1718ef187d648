{# What an invocation has loaded for the next step while the step before it multiplies, items of type `item`. #}
{% for l in range(a_loads) %}
  var a_next{{ l }} = {{ item }}();
{% endfor %}
{% for l in range(b_loads) %}
  var b_next{{ l }} = {{ item }}();
{% endfor %}
