{# The extremes that the invocations of a workgroup found in `least` and `largest` join in their first elements. #}
  for (var width = {{ invocations // 2 }}u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (local < width) {
      least[local] = smaller(least[local], least[local + width]);
      largest[local] = larger(largest[local], largest[local + width]);
    }
  }
