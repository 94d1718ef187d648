// C = A·B on the matrix units: A [{{ m }}, {{ k }}] and B [{{ k }}, {{ n }}] of f16, C [{{ m }}, {{ n }}] of {{ result }}, all row-major.
//
// The host guarantees: one workgroup, which is one subgroup of {{ lanes }} invocations; every binding is exactly one matrix.
// For Dawn alone: the feature is experimental, and no other implementation has it.
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<{{ result }}>;

@compute @workgroup_size({{ lanes }})
fn main() {
    let left = subgroupMatrixLoad<subgroup_matrix_left<f16, {{ k }}, {{ m }}>>(&a, 0u, false, {{ k }}u);
    let right = subgroupMatrixLoad<subgroup_matrix_right<f16, {{ n }}, {{ k }}>>(&b, 0u, false, {{ n }}u);
    var sum: subgroup_matrix_result<{{ result }}, {{ n }}, {{ m }}>;
    sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
    subgroupMatrixStore(&c, 0u, sum, false, {{ n }}u);
}
