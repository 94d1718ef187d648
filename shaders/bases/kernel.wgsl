{# The frame of a kernel: its parameters, the functions that it calls, and its entry point. A kernel opens with its
   mathematics, the layout of each operand and what the host guarantees, and then extends this, elements.wgsl or tile.wgsl.
   The host or the kernel sets `invocations`; `vec`, 1 or 4, where there is element-wise code; and `functions`, the files of
   functions/ that are called. Blocks:

   indexing      the functions by which an invocation finds its place
   declarations  workgroup memory and functions of its own
   grid          the builtins that main takes beside the invocation's index
   main          the body of main
   store         what main calls to write #}

{% include "parts/params.wgsl" %}
{% if vec is defined %}
{% include "parts/types.wgsl" %}
{% endif %}
{% block indexing %}
{% endblock %}
{% if functions is defined %}
{% for name in functions %}
{% include "functions/" ~ name ~ ".wgsl" %}
{% endfor %}
{% endif %}

{% block declarations %}
{% endblock %}

@compute @workgroup_size({{ invocations }})
fn main(
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
{% endblock %}
  @builtin(local_invocation_index) local_index: u32,
) {
{% block main required %}
{% endblock %}
}

{% block store %}
{% endblock %}
