"Deep learning for single molecule localization microscopy: six networks behind one contract."
__version__ = "0.0.1"

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _Module

# Names are looked up in their modules when they are first used, so that `import dl4smlm` does not wait for torch.
_MODULES = {
    "core": "check_emitters free_folder make_emitters make_generator new_folder pick_device set_seed",
    "exercises": "check_answer is_right",
    "viz": "show_emitters show_frame show_history show_images show_reconstruction",
    "psf": "AstigmaticPSF GaussianPSF MeasuredPSF",
    "camera": "Camera CmosMap emccd_camera expose ideal_camera list_cameras make_camera scmos_camera to_photons",
    "background": "Background",
    "structures": "Drawing Filaments LinePairs NuclearPores TwoPoints Uniform",
    "blinking": "Blinking Exponential LogNormal Normal",
    "simulate": "Drift draw_emitters film simulate",
    "io": "movie_format open_movie read_image save_image save_movie",
    "tables": "read_localizations save_localizations table_format",
    "data": "FramePatches ImagePairs Normalise make_loaders rasterise",
    "live": "LiveSimulation",
    "blemishes": "bad_pixels fill_pixels mend_movie odd_frames",
    "microscope": "Microscope match_microscope show_match",
    "losses": "L1L2Loss",
    "weighted": "WeightedMAE WeightedMSE",
    "heatmap": "HeatmapMSE",
    "metrics": "image_scores nmse pearson psnr ssim",
    "learner": "Callback Learner",
    "callbacks": "EarlyStop LivePlot Track",
    "classic": "train_valid",
    "finder": "find_rate show_rates",
    "models.contract": "EmitterNet FineNet check_model",
    "models.zoo": "create_model list_models model_table register_model",
    "localize": "add_uncertainty correct_grid localize",
    "photons": "measure_photons",
    "render": "render render_colour save_picture show_localizations show_overlay",
    "bound": "emitter_bounds position_bound",
    "resolution": "assess decorrelation error_map frc ring_correlation show_quality",
    "drift": "correct_drift find_drift show_drift",
    "evaluate": "challenge evaluate local_density match outcomes score_curve test_model",
    "merge": "merge_localizations",
    "fuse": "export_onnx fuse",
    "blocks": "find_process",
    "reconstruct": "reconstruct",
    "bench": "describe_bench run_bench",
    "calibrate": "calibrate error_ratio fit_calibration grid_bias pick_threshold ratio_by_photons reliability "
                 "show_calibration show_grid_bias show_thresholds threshold_curve",
    "card": "describe_card learned_spots_px spot_warning",
    "shelf": "pack_bundle shipped_models",
    "bundle": "from_pretrained load_card push_to_hub save_pretrained",
    "distill": "distill teacher_errors",
    "recipes": "recipe_stream train_recipe",
    "compare": "Contest compare show_contest show_scores",
    "atlas": "lone_bounds map_scores show_map",
    "views": "blend describe_axes draw_pictures show_agreement show_errors show_histories show_models show_outcomes "
             "show_values",
    "player": "MoviePlayer contact_sheet lightness show_colour_maps",
    "explore": "Explorer draw_frame draw_simulation draw_threshold explore_movie explore_simulator explore_threshold "
               "list_ways",
    "inside": "best_answer draw_layer draw_loss explore_layers explore_loss feature_maps list_layers",
    "demo": "run_demo",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME: raise AttributeError(f"module 'dl4smlm' has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"dl4smlm.{_HOME[name]}"), name)
    return value


def __dir__(): return sorted([*__all__, "__version__"])


class _Package(_Module):
    def __setattr__(self, name, value):
        # importing the module `simulate` would put it where the function `simulate` belongs
        if not (name in _HOME and isinstance(value, _Module)): super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package
