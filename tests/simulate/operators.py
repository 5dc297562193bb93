# ruff: noqa: SIM905 - a table
"""A table of operators: calls, as one writes them. `a` to `h` are tensors, made by `tensors`; each name counts once."""

from __future__ import annotations

import torch

_UNARY = """
abs acos acosh angle arccos arcsin arctan asin asinh atan atanh ceil conj_physical cos cosh deg2rad digamma erf erfc
erfinv exp exp2 expm1 fix floor frac isfinite isinf isnan isneginf isposinf isreal lgamma log log10 log1p log2
logical_not logit nan_to_num neg negative positive rad2deg reciprocal relu round rsqrt selu sgn sigmoid sign signbit
sin sinc sinh sqrt square tan tanh trunc absolute arcsinh arctanh celu i0
""".split()
_SPECIAL = """
bessel_j0 bessel_j1 bessel_y0 entr erfcx expit i0e i1 i1e log_ndtr modified_bessel_i0 modified_bessel_k0 ndtr ndtri
psi spherical_bessel_j0 log_softmax(a,0) softmax(a,0) xlog1py(a,b) zeta(a+2,b) chebyshev_polynomial_t(a,b)
hermite_polynomial_h(a,2) laguerre_polynomial_l(a,2) legendre_polynomial_p(a,2) gammainc(a,b) gammaincc(a,b)
multigammaln(a+3,2)
""".split()
_BINARY = """
add sub mul div true_divide floor_divide remainder fmod pow atan2 arctan2 maximum minimum fmax fmin hypot copysign
nextafter logaddexp logaddexp2 eq ne lt le gt ge greater less not_equal greater_equal less_equal logical_and
logical_or logical_xor float_power xlogy heaviside multiply subtract divide rsub isclose dist ldexp
""".split()
_INTEGERS = """
bitwise_and bitwise_or bitwise_xor gcd lcm bitwise_left_shift bitwise_right_shift
""".split()
_REDUCE = """
sum mean prod amax amin all any argmax argmin logsumexp std var median nanmedian nansum nanmean max min cumsum
cumprod cummax cummin logcumsumexp norm(2) unique_consecutive std_mean var_mean aminmax count_nonzero mode sort
argsort msort() kthvalue(2) topk(2) softmax log_softmax unbind diff renorm(1,0,1.) quantile(0.5) nanquantile(0.5)
squeeze unsqueeze flip select(0) narrow(0,1) split(2) chunk(2) tensor_split(2) movedim swapaxes transpose swapdims
roll rot90() index_select(0,i) index_add(0,i,a) index_copy(0,i,a) index_fill(0,i,1.) gather(0,j) scatter(0,j,b)
scatter_add(0,j,b) scatter_reduce(0,j,b,'sum') take_along_dim(j,0) cumulative_trapezoid trapezoid trapz
""".split()
_METHODS = """
t() T.contiguous() mT.contiguous() reshape(-1) view(9) view(1,9) flatten() ravel() permute(1,0) expand(2,3,3)
repeat(2,2) tile(2,1) diag() diagonal() diag_embed() trace() triu() tril() tril(-1) clone() contiguous()
clamp(0.2,0.7) clip(0.2) clamp_min(0.5) clamp_max(0.5) where(a>0.5,b) masked_fill(a>0.5,0.) masked_select(a>0.5)
nonzero() take(k) put(k,c[0]) index_put((k%3,),c[0]) masked_scatter(a>0.5,b) fmod(0.3) remainder(0.3) pow(2)
pow(0.5) lerp(b,0.5) lerp(b,a) addcmul(a,b) addcdiv(a,b+1) addmm(a,b) sgn() addr(a[0],b[0]) addbmm(d,d)
baddbmm(d,d) matmul(b) mm(b) mv(b[0]) inner(b) unfold(0,2,1) as_strided((2,2),(3,1)) type(torch.float64)
to(torch.float16) half() double() int() long() bool() bfloat16() float() equal(a) allclose(a) argwhere()
histc(4,0.,1.) unique() fill_diagonal_(0.) hsplit(3) vsplit(3) unflatten(0,(3,1)) view_as(b) expand_as(d[:,:3,:3])
reshape_as(b) resolve_conj() resolve_neg() view(torch.int32) new_zeros(3) new_ones(2) new_full((2,),3.) zero_()
fill_(2.) add_(b) mul_(b) sub_(b) div_(b+1) addcmul_(a,b) addcdiv_(a,b+1) clamp_(0.2,0.5) copy_(b) relu_() exp_()
sqrt_() sigmoid_() tanh_() neg_() abs_() masked_fill_(a>0.5,0.) index_fill_(0,i,1.) index_add_(0,i,b)
scatter_(0,j,b) scatter_add_(0,j,b) index_copy_(0,i,b) lerp_(b,0.5) tril_() triu_() pow_(2) cumsum_(0)
transpose_(0,1) t_() squeeze_() unsqueeze_(0) addmm_(a,b) clamp_min_(0.5) round_() floor_() ceil_() trunc_() frac_()
reciprocal_() rsqrt_() erf_() log_() eq_(b) lt_(b) logical_and_(b) remainder_(0.3) sum() mean() max() min() norm()
tolist() std() var() prod()
""".split()
_FUNCTIONS = """
cat([a,b]) stack([a,b]) hstack([a,b]) vstack([a,b]) dstack([a,b]) column_stack([a,b]) concat([a,b],1)
block_diag(a,b) cartesian_prod(a[0],b[0]) combinations(a[0]) meshgrid(a[0],b[0],indexing='ij')
broadcast_tensors(a[0],b) cross(a,b) cdist(a,b) einsum('ij,jk->ik',a,b) tensordot(a,b,1) kron(a,b)
bucketize(a,a[0].sort()[0]) searchsorted(a[0].sort()[0],b) isin(i,i) polar(a,b) complex(a,b) real(f) imag(f)
view_as_real(f) view_as_complex(d[:,:,:2].contiguous())
vander(a[0]) linalg.matrix_rank(e) linalg.cond(e) cov(a) corrcoef(a)
bernoulli(torch.ones_like(a)) zeros_like(a) ones_like(a) full_like(a,2.) where(a>b,a,b) addmm(a,a,b) baddbmm(d,d,d)
bmm(d,d) mm(a,b) var_mean(a,1) std_mean(a,1) native_layer_norm(a,(3,),None,None,1e-5) fft.fft(a) fft.ifft(a)
fft.rfft(a) fft.irfft(f) fft.fft2(a) fft.fftshift(a) fft.hfft(f) linalg.det(e) linalg.inv(e) linalg.solve(e,a)
linalg.cholesky(e@e.t()) linalg.qr(e) linalg.svdvals(e) linalg.eigvalsh(e+e.t()) linalg.norm(e)
linalg.matrix_norm(e) linalg.vector_norm(e) linalg.matrix_power(e,3) linalg.pinv(e) linalg.slogdet(e)
linalg.lu_factor(e) linalg.matrix_exp(e/10) linalg.multi_dot([a,b,a]) linalg.cross(a,b) linalg.diagonal(a)
linalg.vecdot(a,b) linalg.solve_triangular(e.triu(),a,upper=True) linalg.householder_product(e,a[0])
linalg.tensorinv(e.view(3,3),ind=1) logdet(e) slogdet(e) cholesky_solve(a,e) cholesky_inverse(e)
_foreach_add([a,b],1.) _foreach_mul([a,b],[b,a]) _foreach_norm([a,b]) _foreach_sqrt([a,b])
_foreach_addcdiv([a,b],[b,a],[a+1,b+1],0.5) _foreach_lerp([a,b],[b,a],0.3) _foreach_neg([a]) _foreach_div([a],2.)
_foreach_maximum([a],[b]) clamp(a,b-0.1,b+0.1) frexp(a) slice_scatter(a,b[:1],0,0,1) select_scatter(a,b[0],0,1)
diagonal_scatter(a,b[0]) as_strided_scatter(a,b,(3,3),(3,1)) atleast_3d(a) rot90(a) fliplr(a) flipud(a)
nan_to_num(a/0.) gradient(a[0]) unravel_index(k,(3,3)) bitwise_not(i) ravel(a) swapaxes(a,0,1) moveaxis(a,0,1)
narrow_copy(a,0,1,1) unbind(a,1) split_with_sizes(a,[1,2]) mvlgamma(a+2,2) polygamma(1,a) conj(f) is_nonzero(a[0,0])
addmv(a[0],a,b[0]) ger(a[0],b[0])
""".split()
_NN = """
relu(a) relu6(a) elu(a) selu(a) celu(a) gelu(a) gelu(a,approximate='tanh') silu(a) mish(a) softplus(a) softsign(a)
hardtanh(a) hardswish(a) hardsigmoid(a) hardshrink(a) softshrink(a) tanhshrink(a) leaky_relu(a) logsigmoid(a)
glu(d[:,:,:2]) threshold(a,0.5,0.) softmax(a,-1) log_softmax(a,-1) softmin(a,-1) normalize(a) layer_norm(a,(3,))
rms_norm(a,(3,)) linear(a,b) bilinear(a,b,d) prelu(a,b[0,:1]) rrelu(a) conv1d(d,d) conv2d(g,g) conv3d(h,h)
conv_transpose1d(d,d) conv_transpose2d(g,g) max_pool1d(d,2) max_pool2d(g,2) max_pool3d(h,2) avg_pool1d(d,2)
avg_pool2d(g,2) avg_pool3d(h,2) lp_pool2d(g,2,2) adaptive_avg_pool1d(d,2) adaptive_avg_pool2d(g,2)
adaptive_max_pool2d(g,2) adaptive_max_pool1d(d,2) batch_norm(a,a[0]*1,b[0]*1,training=True) instance_norm(d)
group_norm(g,1) local_response_norm(g,2) interpolate(g,scale_factor=2) interpolate(g,size=5,mode='bilinear')
interpolate(d,size=5,mode='linear') interpolate(g,size=5,mode='bicubic') pad(a,(1,1))
pad(g,(1,1,1,1),mode='reflect') pad(g,(1,1,1,1),mode='replicate') pad(g,(1,1,1,1),mode='circular') unfold(g,2)
fold(g.reshape(1,9,9)[:,:8,:4],(3,3),(2,2)) pixel_unshuffle(g[:,:,:2,:2],2) channel_shuffle(d,3)
grid_sample(g,a[None,:,:2].unsqueeze(0),align_corners=False) affine_grid(d[:1,:2],(1,1,2,2),align_corners=False)
embedding(i,a) embedding_bag(i,a,i[:2]) one_hot(i,4) mse_loss(a,b) l1_loss(a,b) smooth_l1_loss(a,b) huber_loss(a,b)
cross_entropy(a,i) nll_loss(a,i) kl_div(a,b) binary_cross_entropy(a,b) binary_cross_entropy_with_logits(a,b)
poisson_nll_loss(a,b) gaussian_nll_loss(a,b,b) hinge_embedding_loss(a,b.sign()) margin_ranking_loss(a,b,b.sign())
soft_margin_loss(a,b.sign()) multi_margin_loss(a,i) multilabel_soft_margin_loss(a,b)
cosine_embedding_loss(a,b,b[0].sign()) triplet_margin_loss(a,b,e) cosine_similarity(a,b) pairwise_distance(a,b)
pdist(a) ctc_loss(d.log_softmax(2),i[None].repeat(3,1)[:,:1].clamp(1,2),i*0+3,i*0+1)
scaled_dot_product_attention(d,d,d) scaled_dot_product_attention(d,d,d,is_causal=True) dropout(a,0.5)
alpha_dropout(a,0.5) dropout1d(d) max_unpool2d(*F.max_pool2d(g[:,:,:2,:2],2,return_indices=True),2)
multilabel_margin_loss(a,i[None].repeat(3,1)) pixel_shuffle(g[:,:,:2,:2].reshape(1,4,1,1),2)
""".split()


def _calls() -> list[str]:
    found = [f"torch.{name}({'e*0.1' if name in ('acosh',) else 'a'})" for name in _UNARY]
    found += [f"torch.special.{name}" if "(" in name else f"torch.special.{name}(a)" for name in _SPECIAL]
    found += [f"torch.{name}(a, b)" for name in _BINARY if name not in ("heaviside", "ldexp")]
    found += ["torch.heaviside(a, b)", "torch.ldexp(a, i)"]
    found += [f"torch.{name}(i, i + 1)" for name in _INTEGERS]
    for name in _REDUCE:
        if name in ("all", "any"):
            found.append(f"(a > 0.3).{name}(0)")
        elif name in ("roll", "flip", "unsqueeze", "squeeze"):
            found.append(f"a.{name}(0)" if name != "roll" else "a.roll(1)")
        elif name in ("movedim", "swapaxes", "transpose", "swapdims"):
            found.append(f"a.{name}(0, 1)")
        elif name in ("select(0)", "narrow(0,1)"):
            found.append(f"a.{name[:-1]},1)")
        elif name in ("cumulative_trapezoid", "trapezoid", "trapz"):
            found.append(f"torch.{name}(a)")
        elif name in ("std_mean", "var_mean", "nanmean", "unique_consecutive", "aminmax"):
            found.append(f"torch.{name}(a{', dim=0' if name != 'unique_consecutive' else ''})")
        else:
            found.append(f"a.{name}" if "(" in name else f"a.{name}(0)")
    found += [f"a.clone().{name}" for name in _METHODS]
    found += [f"torch.{name}" for name in _FUNCTIONS]
    found += [f"F.{name}" for name in _NN]
    return found


#: `torch.add(a, b)` and so on.
CALLS = _calls()


def name_of(call: str) -> str:
    """The operator that a call is about: `add` for `torch.add(a, b)` and for `a.add(b)`; `fft.fft`, `special.i0e`."""
    if call.startswith("("):
        return call.rsplit(".", 1)[1].split("(", maxsplit=1)[0]
    head = call.removeprefix("a.clone()").lstrip(".").removeprefix("torch.").removeprefix("F.").removeprefix("a.")
    return head.split("(")[0]


def tensors() -> dict[str, torch.Tensor]:
    """What the names in a call stand for: values between 0 and 1, where nearly everything is defined."""
    draw = torch.Generator().manual_seed(20)

    def rand(*size: int) -> torch.Tensor:
        return torch.rand(size, generator=draw) * 0.9 + 0.05

    return {
        "a": rand(3, 3),
        "b": rand(3, 3),
        "c": rand(3, 3),
        "d": rand(3, 3, 3),
        "e": rand(3, 3) + torch.eye(3) * 2,
        "f": torch.complex(rand(3, 3), rand(3, 3)),
        "g": rand(1, 1, 3, 3).repeat(1, 1, 3, 3)[:, :, :9:1, :9:1].contiguous(),
        "h": rand(1, 1, 3, 3, 3),
        "i": torch.tensor([0, 1, 2]),
        "j": torch.tensor([[0, 1, 2], [2, 0, 1], [1, 2, 0]]),
        "k": torch.tensor([0, 4, 8]),
    }
