{# The window, the head and the block of queries of a workgroup. #}
  let local = i32(local_index);
  let group = i32(workgroup_id.y * num_workgroups.x + workgroup_id.x);
  let heads_blocks = params.heads * {{ blocks }};
  if (group >= params.count * heads_blocks) {
    return;
  }
  let row = params.first + group / heads_blocks;
  let head = group / {{ blocks }} % params.heads;
  let image = row / params.windows;
  let window = row - image * params.windows;
  let down = window / params.across;
  let across = window - down * params.across;
{% if keeps_tokens or keeps_regions %}
  for (var place = local; place < {{ area }}; place += {{ invocations }}) {
{% if keeps_tokens %}
    token_of[place] = token_at(down, across, place);
{% endif %}
{% if keeps_regions %}
    region_of[place] = region_at(down, across, place);
{% endif %}
  }
{% endif %}
{% if keeps_tokens %}
  workgroupBarrier();
{% endif %}
