// claimed[p] = max over the updates u with target p of number(u) + 1, where it was 0: of updates with one target the last
// one wins, in whatever order invocations run.
//
// One invocation for each target that the indices name. Targets outside of the data are passed over.
// The host guarantees: claimed is 0 everywhere; count rows lie within every binding.
{% extends "bases/elements.wgsl" %}
{% block element %}
{% for index in indices %}
  var p{{ loop.index0 }} = {{ index.item }};
  if (p{{ loop.index0 }} < 0) {
    p{{ loop.index0 }} += {{ index.extent }};
  }
  if (p{{ loop.index0 }} < 0 || p{{ loop.index0 }} >= {{ index.extent }}) {
    return;
  }
{% endfor %}
  atomicMax(&{{ target }}, u32({{ number }}) + 1u);
{% endblock %}
