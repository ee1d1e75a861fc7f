r"""The formula of each component, in LaTeX, by kind and name. The letters are those of the docstrings.

What is known as a number is a letter in italics, the name of a function is upright. A component without a formula, such as a
task that is told in words, is not here; a test says which kinds need one for each.
"""

from __future__ import annotations

FORMULAS: dict[str, dict[str, str]] = {
    "similarity": {
        "dot": r"s_{ij} = q_i^\top k_j",
        "scaled_dot": r"s_{ij} = \frac{q_i^\top k_j}{\sqrt{d}}",
        "cosine": r"s_{ij} = \frac{1}{\text{temperature}} \cdot \frac{q_i^\top k_j}{\lVert q_i \rVert \, \lVert k_j \rVert}",
        "general": r"s_{ij} = q_i^\top W k_j",
        "additive": r"s_{ij} = v^\top \, \tanh\left(W_q^\top q_i + W_k^\top k_j + b\right)",
        "neg_l2": r"s_{ij} = -\frac{\lVert q_i - k_j \rVert^2}{2 \sigma^2}",
        "uniform": r"s_{ij} = 0",
        "location_aware": r"s_{ij} = v^\top \, \tanh\left(W_q^\top q_i + W_k^\top k_j + U^\top f_{ij} + b\right),"
        r" \qquad f_{ij} = \sum_{l=-\text{width}}^{\text{width}} F_l \, w_{i-1,\,j+l}",
        "coverage": r"s_{ij} = v^\top \, \tanh\left(W_q^\top q_i + W_k^\top k_j + c_{ij} u + b\right),"
        r" \qquad c_{ij} = \sum_{t<i} w_{tj}",
        "low_rank": r"s_{ij} = (W_q^\top q_i) \cdot (W_k^\top k_j)",
        "additive_wn": r"s_{ij} = g \, \frac{v^\top}{\lVert v \rVert} \, \tanh\left(W_q^\top q_i + W_k^\top k_j + b\right)",
        "diag_mahalanobis": r"s_{ij} = -\sum_f a_f (q_{if} - k_{jf})^2, \qquad a = \operatorname{softplus}(r)",
        "poly_kernel": r"s_{ij} = (q_i \cdot k_j + \text{offset})^{\text{power}}",
        "feature_map_elu": r"s_{ij} = \phi(q_i) \cdot \phi(k_j), \qquad \phi(x) = \operatorname{elu}(x) + 1",
        "taylor": r"s_{ij} = 1 + z + \frac{z^2}{2}, \qquad z = \frac{q_i \cdot k_j}{\sqrt{d}}",
        "expressive": r"s_{ij} = \log \frac{z^2 + \varepsilon}{1 + z^2}, \qquad z = \frac{q_i \cdot k_j}{\sqrt{d}}",
        "location": r"s_{ij} = (W^\top q_i)_j",
        "synthesizer_random": r"s_{ij} = R_{ij}",
        "random": r"s_{ij} \sim N(0, \text{scale}^2)",
    },
    "normaliser": {
        "softmax": r"w_j = \frac{\exp(s_j / \text{temperature})}{\sum_i \exp(s_i / \text{temperature})}",
        "softmax_n": r"w_j = \frac{\exp(s_j)}{n_0 + \sum_i \exp(s_i)}",
        "logn_softmax": r"w_j = \frac{\exp(\text{scale} \cdot \log n \cdot s_j)}{\sum_i \exp(\text{scale} \cdot \log n \cdot s_i)}",
        "sparsemax": r"w_j = \max(s_j - \tau, 0), \qquad \tau \text{ such that } \sum_j w_j = 1",
        "entmax": r"w_j = \max\left((\alpha - 1) s_j - \tau, 0\right)^{1 / (\alpha - 1)},"
        r" \qquad \tau \text{ such that } \sum_j w_j = 1",
        "sigmoid": r"w_j = \frac{1}{1 + \exp(\log n - s_j)}",
        "hardmax": r"w_j = \begin{cases} 1 & \text{if } j \text{ is the first of } \operatorname{argmax}_i s_i \\"
        r" 0 & \text{otherwise} \end{cases}",
        "monotonic": r"\begin{align*} p_{ij} &= \operatorname{sigmoid}(s_{ij} + \text{bias}) \\"
        r" q_{ij} &= (1 - p_{i,\,j-1}) \, q_{i,\,j-1} + w_{i-1,\,j} \\ w_{ij} &= p_{ij} \, q_{ij} \end{align*}",
        "sink_softmax": r"w_j = \frac{\exp(s_j)}{\exp(b) + \sum_i \exp(s_i)}",
        "softpick": r"w_j = \frac{\max(\exp(s_j) - 1, 0)}{\sum_i \lvert \exp(s_i) - 1 \rvert + \varepsilon}",
        "relu_over_n": r"w_j = \frac{\max(s_j, 0)^{\text{power}}}{n^{\text{exponent}}}",
        "stick_breaking": r"w_j = \sigma(s_j) \prod_{l > j} \left(1 - \sigma(s_l)\right), \qquad \sigma = \operatorname{sigmoid}",
        "cog": r"w_j = \operatorname{sign}(s_j) \frac{\exp(\lvert s_j \rvert)}{\sum_i \exp(\lvert s_i \rvert)}",
        "identity": r"w_j = s_j",
        "l1": r"w_j = \frac{s_j}{\sum_i s_i}",
        "compact_kernel": r"w_j = \frac{\kappa(s_j)}{\sum_i \kappa(s_i)}",
        "adaptive_temperature": r"w_j = \frac{\exp(\beta(H) s_j)}{\sum_i \exp(\beta(H) s_i)}",
        "topk_softmax": r"w_j = \frac{\exp(s_j)}{\sum_{i \in T} \exp(s_i)} \text{ for } j \in T, \qquad T \text{ the k largest}",
        "gumbel": r"w_j = \frac{\exp((s_j + g_j) / \text{temperature})}{\sum_i \exp((s_i + g_i) / \text{temperature})}",
        "stieltjes": r"w_j = (\lambda - s_j)^{-q}, \qquad \lambda \text{ such that } \sum_j w_j = 1",
    },
    "aggregator": {
        "weighted_sum": r"y_i = \sum_j w_{ij} v_j",
        "gather": r"y_i = v_j, \qquad j = \operatorname{argmax}_{j'} w_{ij'}",
        "luong_output": r"y_i = \tanh\left(W_c^\top c_i + W_q^\top q_i\right), \qquad c_i = \sum_j w_{ij} v_j",
        "gated": r"y_i = \operatorname{sigmoid}(G^\top q_i) \cdot \sum_j w_{ij} v_j",
        "pointer": r"y_{ij} = w_{ij}",
        "max_plus": r"y_{ic} = \max_j \left(\log w_{ij} + v_{jc}\right)",
        "laser": r"y_{ic} = \log \sum_j w_{ij} \exp(v_{jc})",
        "parallax": r"y_i = c_i - \text{Cov}_i(v, k) \, R^\top q_i, \qquad c_i = \sum_j w_{ij} v_j",
        "local_linear": r"y_i = c_i + \text{Cov}_i(v, k) \left(\text{Cov}_i(k, k) + \text{ridge} \cdot I\right)^{-1} (q_i - m_i),"
        r" \qquad m_i = \sum_j w_{ij} k_j",
    },
    "position": {
        "none": r"q_i \mapsto q_i, \qquad k_j \mapsto k_j",
        "sinusoidal": r"\text{PE}(p, 2i) = \sin\frac{p}{\text{base}^{2i/d}},"
        r" \qquad \text{PE}(p, 2i + 1) = \cos\frac{p}{\text{base}^{2i/d}}",
        "learned": r"q_i \mapsto q_i + P_i, \qquad k_j \mapsto k_j + R_j",
        "alibi": r"s_{ij} \mapsto s_{ij} - \text{slope} \cdot \lvert i - j \rvert",
        "rope": r"\begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix} \mapsto"
        r" \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}"
        r" \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}, \qquad \theta = \frac{p}{\text{base}^{2i/d}}",
        "pope": r"s_{ij} = \sum_c \operatorname{softplus}(q_{ic}) \, \operatorname{softplus}(k_{jc}) \,"
        r" \cos\left(\frac{j - i}{\text{base}^{c/d}} + \delta_c\right)",
        "short_conv": r"k_j \mapsto k_j + \sum_{t=1}^{\text{width}} c_t \cdot k_{j-t}",
        "cope": r"s_{ij} \mapsto s_{ij} + q_i^\top e(p_{ij}), \qquad p_{ij} = \sum_{l \ge j} \operatorname{sigmoid}(s_{il})",
        "fire": r"s_{ij} \mapsto s_{ij} + f\left(\frac{\log(1 + c \, \lvert i - j \rvert)}{\log(1 + c \, \max(L, i))}\right)",
        "t5_bias": r"s_{ij} \mapsto s_{ij} + b_{\text{bucket}(j - i)}",
        "gaussian_local": r"\begin{align*} w_{ij} &\mapsto w_{ij} \, \exp\left(-\frac{(j - p_i)^2}{2 \sigma^2}\right),"
        r" \qquad \sigma = \frac{\text{width}}{2} \\ p_i &= n \, \operatorname{sigmoid}\left(v^\top \, \tanh(W q_i)\right) \end{align*}",
        "diagonal": r"s_{ij} \mapsto s_{ij} - \text{tension} \cdot \left\lvert \frac{i}{m} - \frac{j}{n} \right\rvert",
    },
    "mask": {
        "all": r"\text{every } i, j",
        "causal": r"j \le i",
        "window": r"\lvert j - i \rvert \le \text{width}",
        "prefix": r"j < \text{length} \text{ or } j \le i",
        "document": r"\text{document}(i) = \text{document}(j)",
        "dilated": r"\lvert j - i \rvert \in \left\{ 0, \text{gap}, \ldots, \text{width} \cdot \text{gap} \right\}",
        "global_window": r"\lvert j - i \rvert \le \text{width} \text{ or } j < \text{tokens} \text{ or } i < \text{tokens}",
        "random": r"\text{hash}(i, j, \text{seed}) < \text{share}",
        "block_topk": r"\text{block}(j) \text{ is one of the top by } \frac{1}{n} \sum_{l \in \text{block}(j)} q_i^\top k_l",
    },
    "modifier": {
        "none": r"s_{ij} \mapsto s_{ij}",
        "softcap": r"s_{ij} \mapsto \text{cap} \cdot \tanh\frac{s_{ij}}{\text{cap}}",
        "bias": r"s_{ij} \mapsto s_{ij} + b_{ij}",
        "forget": r"s_{ij} \mapsto s_{ij} + \sum_{l = j + 1}^{i} \log f_l, \qquad f_l = \operatorname{sigmoid}(k_l \cdot w + b)",
        "adaptive_scale": r"s_{ij} \mapsto s_{ij} \left(1 + \operatorname{softplus}(b \cdot q_i) (\log n)^{2 \tanh(g \cdot q_i)}\right)",
        "selective": r"s_{ij} \mapsto s_{ij} - \sum_{j < l < i} \max(s_{lj}, 0)",
        "multi_token": r"s_{ij} \mapsto \sum_{a, b} C_{ab} \, s_{i - a,\, j + b - m}",
    },
    "mechanism": {
        "single_head": r"\begin{align*} S &= \text{modifier}\left(\text{similarity}(\text{position}(Q, K))\right) \\"
        r" W &= \text{normaliser}(S, \text{mask}) \\ Y &= \text{aggregator}(W, V) \end{align*}",
        "multi_head": r"Y = \text{concat}_h\left(A_h(Q W^q_h, \; K W^k_h, \; V W^v_h)\right) W^o",
        "talking_heads": r"W_g = \text{normaliser}\left(\sum_h A_{hg} S_h\right), \qquad U_m = \sum_g B_{gm} W_g,"
        r" \qquad Y = \text{concat}_m(U_m V_m) \, W^o",
        "differential": r"Y = \text{concat}_h\left((1 - \lambda_0) \, \text{norm}\left(A(Q^1_h, K^1_h, V_h)"
        r" - \lambda A(Q^2_h, K^2_h, V_h)\right)\right) W^o",
        "hopfield": r"q \mapsto \sum_j w_j(q) \, k_j, \qquad y = A(q, K, V)",
        "delta_rule": r"S_j = S_{j-1} \left(I - \beta_j k_j k_j^\top\right) + \beta_j v_j k_j^\top, \qquad y_i = S q_i",
        "gated_delta": r"S_j = \alpha_j S_{j-1} \left(I - \beta_j k_j k_j^\top\right) + \beta_j v_j k_j^\top, \qquad y_i = S q_i",
        "mixture": r"Y = g \, A(Q, K, V) + (1 - g) \, B(Q, K, V), \qquad g = \operatorname{sigmoid}(\text{logit})",
    },
    "encoder": {
        "embedding": r"h_j = x_j",
        "rnn": r"h_j = \text{GRU}(x_j, h_{j-1}), \qquad h_0 = 0",
        "birnn": r"h_j = \left[\overrightarrow{h}_j ; \, \overleftarrow{h}_j\right],"
        r" \qquad \overrightarrow{h}_j = \text{GRU}(x_j, \overrightarrow{h}_{j-1}),"
        r" \quad \overleftarrow{h}_j = \text{GRU}(x_j, \overleftarrow{h}_{j+1})",
    },
    "task": {
        "block_reorder": r"\text{subject}_{1..a} \; \text{verb}_{1..b} \; \text{object}_{1..c} \; \longrightarrow \;"
        r" \text{subject}'_{1..a} \; \text{object}'_{1..c} \; \text{verb}'_{1..b}, \qquad a, b, c \text{ uniform on } 1..\text{length}",
        "boolean": r"\begin{align*} \text{first:} \quad & \text{gold}_j = [j = 1], && \text{target} = x_1, && \text{chance } \tfrac{1}{k} \\"
        r" \text{majority:} \quad & \text{gold}_j = \tfrac{1}{k}, && \text{target} = \left[\textstyle\sum_j x_j > \tfrac{k}{2}\right],"
        r" && \text{chance } 1 \\ \text{parity:} \quad & \text{gold}_j = \frac{x_j}{\sum_l x_l}, && \text{target} ="
        r" \textstyle\sum_j x_j \bmod 2, && \text{chance } \frac{1}{2 - 2^{1-k}} \end{align*}",
        "dyck": r"\begin{align*} k_j &= o + t_x + z && \text{(opens)}, & v_j &= \text{the one-hot vector of } x \\"
        r" q_j &= k_j = c + z && \text{(closes, its type hidden)}, & v_j &= 0 \end{align*}",
        "fertility": r"\text{target} = (\underbrace{u_1, \ldots, u_1}_{f(w_1)}, \, \underbrace{u_2, \ldots, u_2}_{f(w_2)}, \, \ldots),"
        r" \qquad f(w) \text{ the fertility of } w",
        "find_block": r"q = e_x + e_y, \qquad k_j = e_{x(j)}, \qquad \text{gold}_j = \frac{[j \in B]}{\text{size}},"
        r" \qquad B \text{ the one block with } x \text{ and } y",
        "flip_flop": r"k_j = \text{instruction}_j + \text{bit}_j \text{ (reads have none)}, \qquad v_j = \text{the one-hot vector of the bit (zero)},"
        r" \qquad \text{gold}_i = \max \{ j < i : j \text{ writes} \} \text{ where } i \text{ reads}",
        "in_context_regression": r"x_j \sim \mathcal{N}(0, I_d), \qquad y_j = b_j^\top x_j + \text{noise} \cdot e_j,"
        r" \qquad b_1 \sim \mathcal{N}(0, I_d / d), \qquad b_j = b_{j-1} + \text{drift} \cdot d_j, \quad d_j \sim \mathcal{N}(0, I_d / d)",
        "induction": r"q_j = e_{x(j)}, \qquad k_j = e_{x(j)} + \text{trace} \cdot p_{x(j-1)},"
        r" \qquad v_j = \text{the one-hot vector of } x_j",
        "kernel_recovery": r"\begin{align*} w_{ij} &= \frac{\kappa(r_{ij} / h)}{\sum_l \kappa(r_{il} / h)}, \qquad y_i = \sum_j w_{ij} v_j,"
        r" \qquad v_j \sim \mathcal{N}(0, I_v) \\ k_j &= \text{scale} \cdot \left(\cos(2 \pi x_j) f + \sin(2 \pi x_j) g\right) + \text{noise} \cdot e_j,"
        r" \qquad q_i \text{ the same of its own place} \end{align*}",
        "linear_match": r"u_j \sim \mathcal{N}(0, I_d), \qquad k_j = R u_j, \qquad v_j \sim \mathcal{N}(0, I_v),"
        r" \qquad q_i = u_{j(i)} + \text{noise} \cdot e_i, \qquad R^\top R = I",
        "local_count": r"\text{gold}_{ij} = \frac{[\, i - \text{window} < j \leq i \,]}{\text{window}},"
        r" \qquad \text{target}_i = \sum_j \text{gold}_{ij} v_j \quad \text{for } i \geq \text{window}",
        "lookup_table": r"x_i = t_i(x_{i-1}), \qquad i = 1..c, \qquad \text{gold}_{ij} = [i = j]",
        "mqmtar": r"k_j = (A_a, \, B_b), \qquad v_j = (C_c, \, F_e), \qquad q_i = k_{j(i)}",
        "n_back": r"k_j = e_{x(j)}, \qquad q_j = c, \qquad \text{gold}_{ij} = [\, j = i - n \,], \qquad \text{target}_i = x_{i-n}",
        "nadaraya_watson": r"x_j \sim \mathcal{U}(0, 5), \qquad y_j = f(x_j) + \text{noise} \cdot e_j, \qquad f(x) = 2 \sin(x) + x,"
        r" \qquad k_j = x_j, \qquad v_j = y_j, \qquad q_i \sim \mathcal{U}(0, 5)",
        "ngram_copy": r"k_j = (e_{x(j-n)}, \ldots, e_{x(j-1)}), \qquad v_j = \text{the one-hot vector of } x_j, \qquad q_i = k_{j(i)}",
        "reverse": r"\text{gold}_{tj} = [\, j = k + 1 - t \,], \qquad \text{target}_t = x_{k+1-t}",
        "selective_copy": r"\text{gold}_{tj} = [\, j \text{ is the } t\text{-th marked place} \,], \qquad \text{target}_t = x_j",
        "sort": r"k_j = \frac{x_j}{\text{vocabulary}} \, a + e_{x(j)},"
        r" \qquad \text{gold}_{tj} = [\, x_j \text{ is the } t\text{-th smallest} \,]",
        "trigger_average": r"k_1 = q_1 = s, \qquad k_j = q_j = t \text{ or } u, \qquad v_1 = 0, \qquad v_j = c_j",
        "variable_tracking": r"k_j = l_{\text{left}(j)} + r_{\text{right}(j)}, \qquad v_j = \text{the one-hot vector of the value},"
        r" \qquad q_i = l_{x(i)}",
        "xor_key": r"k_j = (c_{g(j)}, \, \text{scale} \cdot a_j, \, \text{scale} \cdot b_j),"
        r" \qquad q_i = (c_{g(i)}, \, \text{scale} \cdot t_i, \, 0), \qquad v_j \sim \mathcal{N}(0, I_v)",
        "lookup": r"\begin{align*} k_j &\sim \mathcal{N}(0, I_d), \qquad v_j \sim \mathcal{N}(0, I_v) \\"
        r" q_i &= k_{j(i)} + \text{noise} \cdot e_i, \qquad e_i \sim \mathcal{N}(0, I_d) \end{align*}",
        "noisy_recall": r"\begin{align*} k_j &\sim \mathcal{N}(0, I_d) \text{ for the pairs}, \qquad k_j \sim \mathcal{N}(c, I_d)"
        r" \text{ for the distractors}, \qquad \lVert c \rVert = \text{shift} \\ v_j &\sim \mathcal{N}(0, I_v) \\"
        r" q_i &= k_{j(i)} + \text{noise} \cdot e_i, \qquad j(i) \text{ uniform on the pairs} \end{align*}",
        "norm_hubs": r"\begin{align*} u_j &\text{ uniform on the sphere of radius } \sqrt{d} \\"
        r" k_j &= \exp(\sigma z_j) \, u_j, \qquad z_j \sim \mathcal{N}(0, 1), \qquad v_j \sim \mathcal{N}(0, I_v) \\"
        r" q_i &= u_{j(i)} + \text{noise} \cdot e_i, \qquad j(i) \text{ uniform on the keys} \end{align*}",
        "null_queries": r"q_i \sim \mathcal{N}\left(0, (1 + \text{noise}^2) I_d\right), \qquad \text{gold}_i = 0,"
        r" \qquad \text{target}_i = 0",
        "max_retrieval": r"\begin{align*} p_j &\sim \mathcal{U}(0, 1), \qquad c_j \text{ uniform} \\"
        r" k_j &= p_j \, a + b_{c(j)}, \qquad v_j = \text{the one-hot vector of } c_j, \qquad q = a \end{align*}",
        "subset_mean": r"\begin{align*} k_j &= t_{g(j)} + \text{noise} \cdot e_j, \qquad e_j \sim \mathcal{N}(0, I_d),"
        r" \qquad v_j \sim \mathcal{N}(0, I_v) \\ q_i &= t_{g(i)}, \qquad g(i) \text{ uniform on the full groups} \end{align*}",
        "copy": r"k_j = e_{x(j)} + u, \qquad v_j = \text{the one-hot vector of } x_j, \qquad q_t = c",
    },
    "metric": {
        "alignment_accuracy": r"\frac{\lvert H \cap G \rvert}{\lvert H \rvert}",
        "shifted_alignment_accuracy": r"\frac{\lvert H_{i + 1} \cap G_i \rvert}{\lvert H_{i + 1} \rvert}",
        "aer": r"\text{AER} = 1 - \frac{\lvert A \cap S \rvert + \lvert A \cap P \rvert}{\lvert A \rvert + \lvert S \rvert}",
        "aer_precision": r"\frac{\lvert A \cap P \rvert}{\lvert A \rvert}",
        "aer_recall": r"\frac{\lvert A \cap S \rvert}{\lvert S \rvert}",
        "gold_mass": r"\sum_{j : \, \text{gold}_j > 0} w_j",
        "kl_to_gold": r"\text{KL}(g \,\Vert\, p) = \sum_j g_j \log\frac{g_j}{p_j}, \qquad g = \frac{\text{gold}}{\sum_j \text{gold}_j},"
        r" \qquad p = \frac{\max(w, 0)}{\sum_j \max(w_j, 0)}",
        "null_mass": r"\max\left(0, \; 1 - \sum_j \lvert w_j \rvert\right)",
        "weight_entropy": r"\frac{\mathrm{H}(p)}{\log m}, \qquad \mathrm{H}(p) = -\sum_j p_j \log p_j,"
        r" \qquad p = \frac{\max(w, 0)}{\sum_j \max(w_j, 0)}",
        "support_size": r"\left\lvert \{ j : w_j > 10^{-9} \} \right\rvert",
        "max_weight": r"\max_j w_j",
        "sink_mass": r"p_1, \qquad p = \frac{\max(w, 0)}{\sum_j \max(w_j, 0)}",
        "weight_gini": r"\frac{\sum_{i,j} \lvert p_i - p_j \rvert}{2 (m - 1) \sum_j p_j}, \qquad p = \max(w, 0)",
        "diagonal_distance": r"\sum_j p_{ij} \left\lvert \frac{i - 1}{q - 1} - \frac{j - 1}{k - 1} \right\rvert,"
        r" \qquad p = \frac{\max(w, 0)}{\sum_j \max(w_j, 0)}",
        "monotonicity_violations": r"\operatorname{mean}_i \left[c_{i+1} < c_i\right], \qquad c_i = \sum_j p_{ij} \, j,"
        r" \qquad p = \frac{\max(w, 0)}{\sum_j \max(w_j, 0)}",
        "induction_score": r"\max_{\ell, h} \operatorname{mean}_i \, w^{\ell h}_{i, j + 1}, \qquad j = \max \{ j < i : x_j = x_i \}",
        "solution_mass": r"\max_{\ell_1 < \dots < \ell_s} \min_t \max_h \operatorname{mean}_i \sum_{j \in G_t(i)} w^{\ell_t h}_{i j}",
        "first_token_mass": r"\max_\ell \operatorname{mean}_{h, \; i > 1} \, w^{\ell h}_{i 1}",
        "head_redundancy": r"1 - \frac{\text{JS}(p_g \,\Vert\, p_h)}{\log 2}, \qquad \text{JS}(p \,\Vert\, r) ="
        r" \frac{\text{KL}(p \,\Vert\, m) + \text{KL}(r \,\Vert\, m)}{2}, \qquad m = \frac{p + r}{2}",
        "context_error": r"\operatorname{mean}\left((Y - \text{target})^2\right)",
        "accuracy": r"\operatorname{mean}_i \left[\operatorname{argmax}_c Y_{ic} = \text{target}_i\right]",
        "exact_match": r"\operatorname{mean}_{\text{examples}} \prod_i \left[\operatorname{argmax}_c Y_{ic} = \text{target}_i\right]",
        "steps_to_95": r"\min \{ t : \text{alignment_accuracy}(t) \ge 0.95 \}",
        "steps_per_second": r"\frac{\text{steps}}{\text{fit_seconds}}",
    },
}
# Kinds of which every component of attnlab's has a formula, but for counts and clocks.
COUNTED = ("fit_seconds", "n_parameters", "operations_per_query")
NEEDED = ("similarity", "normaliser", "aggregator", "position", "mask", "modifier", "mechanism", "encoder", "metric")
