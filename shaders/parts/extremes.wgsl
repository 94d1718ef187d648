{# What the invocations of a workgroup found, `low` and `high`, joins in the first elements of `least` and `largest`. #}
  least[local_index] = low;
  largest[local_index] = high;
  for (var width = {{ invocations // 2 }}u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (local_index < width) {
      least[local_index] = smaller(least[local_index], least[local_index + width]);
      largest[local_index] = larger(largest[local_index], largest[local_index + width]);
    }
  }
